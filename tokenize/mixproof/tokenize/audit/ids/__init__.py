"""Token ids of texts and conversations, by reference encoders."""
