"""What was found in a track, to look at and to open elsewhere: pictures, event files, clicks."""
