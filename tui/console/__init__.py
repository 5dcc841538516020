"""What the running console consists of beside its screens: links, painting, playing, travelling."""
