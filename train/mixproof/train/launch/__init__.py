"""Launch: from a spec and a build to runs on Ray, their progress and their cost."""
