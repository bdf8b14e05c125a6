class ExportError(ValueError):
    """What cannot be exported; the message says why and what can."""
