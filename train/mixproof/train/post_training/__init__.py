"""Post-training: the objectives of stages after pretraining, as functions of a micro batch."""
