"""What a trained model finds in images and videos, drawn and as one file."""
