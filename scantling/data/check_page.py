"""check.html."""
def write(index, problems, file):
    file.write_text("draft")
