"""pocketface: a trained face embedder goes in; files that a phone app ships come out, measured on faces."""
