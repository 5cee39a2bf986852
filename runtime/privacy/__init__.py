"""Pictures from outside the body: recognised by a model, and covered before they leave."""
