"""Model: Megatron Core's GPTModel, its layer backends, loss, optimizer and schedule."""
