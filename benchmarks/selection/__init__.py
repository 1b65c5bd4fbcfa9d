"""Selection side by side with its peers: filling a kernel, choosing from it, and mean influences (`make bench`)."""
