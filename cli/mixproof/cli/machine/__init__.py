"""What this machine has: processors, memory, disk, GPUs, installed packages, and the commands that work with them."""
