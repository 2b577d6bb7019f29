#![no_main]
packfs_fuzz::target!(object_tail);
