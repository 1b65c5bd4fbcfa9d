"""Does a subset teach? Fine-tuning and in-context learning on it, measured beside the controls."""
