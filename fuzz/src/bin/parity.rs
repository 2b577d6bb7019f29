#![no_main]
packfs_fuzz::target!(parity);
