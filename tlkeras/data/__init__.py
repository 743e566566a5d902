"""Sources of examples, their audit, their splits, and the pipeline that feeds training."""
