"""Views of an image: geometry with exact matrices, photometry, and their composition."""
