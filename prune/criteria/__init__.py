"""What a channel is worth: the scores that pruning goes by."""
