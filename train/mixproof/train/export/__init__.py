"""Export: a run or a blend in the format of another tool."""
