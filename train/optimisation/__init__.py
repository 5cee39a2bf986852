"""How weights are moved: groups of the optimiser, a frozen encoder, averaged weights, stopping."""
