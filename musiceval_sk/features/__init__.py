"""From sound files to stored vectors."""
