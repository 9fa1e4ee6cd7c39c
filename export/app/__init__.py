"""What an app needs beside the files: golden faces, its code, and what names its mistakes."""
