from skscratch.experiments.progress import Progress


class Notes(Progress):
    """Keeps the lines it is given."""

    def __init__(self):
        self.lines = []

    def note(self, text):
        self.lines.append(text)
