"""The rule language: what a rule file may say, and what that means for one torrent.

Pure: nothing in here asks a client, a disk or the environment.  Only a rule file is read.
"""
