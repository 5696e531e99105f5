"""Problems, one file each: the equation, its conditions, what is known of its solution."""
