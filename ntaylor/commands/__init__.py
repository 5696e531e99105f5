"""The commands of ``ntaylor``, a file a family. Floor 16: they print, write files and give an exit status."""
