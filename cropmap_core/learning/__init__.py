"""How models are trained: data, augmentation, synthetic landscapes."""
