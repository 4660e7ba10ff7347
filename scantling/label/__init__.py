"""Labels a folder of images with a trained model."""
