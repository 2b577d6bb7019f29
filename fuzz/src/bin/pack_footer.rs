#![no_main]
packfs_fuzz::target!(pack_footer);
