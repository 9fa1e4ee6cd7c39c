"""What is found out about each file on faces: differences, transfer, templates, slices and more."""
