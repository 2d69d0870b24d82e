"""A million hostile inputs for everything of the local endpoint that reads what a stranger sent.

    scripts/fuzz                            10^6 packets, 10^4 connections, about ten minutes on two cores
    scripts/fuzz --short                    the same in small, for CI
    scripts/fuzz --target codec --seed 7    one target, another run
    scripts/fuzz --replay FILE              one input that failed before

An input is always bytes, and a target is a function of them: so every input can be saved, shrunk and replayed, and the
same target serves this run, the suite and atheris. What a target is made of:

    dice           choices out of a seed, or out of the bytes of an input
    packets        grammar: MQTT packets by the codec's own tables
    mutation       bytes that were good, made bad
    cutting        a stream in pieces
    target         what a target is, and what it may say about an input
    target_*       one for each thing that reads
    coverage       which lines an input reaches; an input that reaches a new one is kept and mutated
    hunt           the loop: make, run, time, count, keep
    shrink         the smallest input that still fails
    findings       failing inputs as files
    verdict        what a run says
    connections    the other half: hostile peers on real sockets

Never here: a clock or a random number that the seed does not decide, except to measure.
"""
