"""What the demo needs beside Holdfast itself."""
