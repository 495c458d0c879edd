"""The final choice among the predicted optimum, the best measured mixtures and the anchor.

The optimum of a predictor is predicted too well, because it is chosen for its prediction, and the best measured
mixture was measured too well, because it is chosen for its measurement. Both errors are calibrated on the study.
"""
