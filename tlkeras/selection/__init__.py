"""Which pretrained backbone suits a data set: probes, scores without training, costs, and the choice among them."""
