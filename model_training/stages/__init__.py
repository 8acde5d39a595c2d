"""The paper's two training stages (section 3.2): the lesion area attention module alone, then everything else."""
