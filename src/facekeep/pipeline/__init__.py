"""From a picture to a name, one module a step: image, detect, align, embed, decide."""
