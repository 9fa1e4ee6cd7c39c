"""What an app needs beside the files: golden faces, its code, and the diagnosis of its mistakes."""
