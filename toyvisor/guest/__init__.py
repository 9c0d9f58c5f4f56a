"""Guest programs: assembler, disassembler, program files, the shipped library.

The only room that knows Keystone and Capstone. Its doors: `assembler`, `disassembler`,
`program`, `library`; the rest is theirs.
"""
