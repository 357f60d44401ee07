"""Fine-tuning: data, augmentation, losses, the loop and its checkpoints."""
