"""Where work that falls into shards is done: in this thread, on several, or on a Ray cluster. One seam, three executors."""
