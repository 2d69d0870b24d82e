"""A run that does everything to a connection that a network, a service and a power cut can do, and counts what is lost.

schedule     pure: which fault befalls which device, and when, from a seed
checker      pure: which ids were promised, which arrived -> what is lost, repeated, out of order
reports      pure: the lines in which a device tells its controller what it did
relay        the network in front of a service: resets, holds back, swallows, goes away
services     the two services, and what really reached them: mosquitto, and the local endpoint
device_*     what runs in a process of its own and is killed: this package (both faces), awscrt, paho
lane         one device with its relay and its book of promises
run          all lanes of one client under one schedule
"""
