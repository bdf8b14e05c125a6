"""What mmengine's loggers write."""

import logging

from mmengine.logging import MMLogger

import lightvit_mm  # noqa: F401


def test_messages_cannot_control_the_terminal(tmp_path, capsys):
    file = tmp_path / 'log'
    logger = MMLogger('hostile', log_file=str(file))
    logger.warning('%s in %d', 'a\x1b[2J\r\u202e', 5)
    logger.warning('| cat |\n| 1.0 |\t%')
    shown = capsys.readouterr().out
    for text in (shown, file.read_text()):
        assert r'a\x1b[2J\r\u202e in 5' in text
        assert '| cat |\n| 1.0 |\t%\n' in text
        assert '\x1b[2J' not in text and '\r' not in text
    for handler in logger.handlers:
        handler.close()
    logging.Logger.manager.loggerDict.pop('hostile', None)
