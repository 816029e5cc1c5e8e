"""The formats of messages, a folder each: what a folder holds is in README.md, what finds them in
`techport_pilots.formats`. Nothing is listed here.
"""
