"""Export: a run or a blend in the form of another tool."""
