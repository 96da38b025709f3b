"""CLAP, of laion_clap's and of Hugging Face's checkpoints."""
