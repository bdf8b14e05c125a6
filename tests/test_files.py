"""Files are complete or not there."""

from lightvit_mm.files import written_whole


def test_files_written_together_are_replaced_together(tmp_path):
    path = tmp_path / 'a.xml'
    for text in ('first', 'second'):
        with written_whole(path, '.bin') as draft:
            draft.write_text(text)
            draft.with_suffix('.bin').write_text(text)
        assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
            'a.xml': text,
            'a.bin': text,
        }
