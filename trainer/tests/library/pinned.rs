//! What a run is called: ids of sweeps and hashes in files, which must not change with the program.

use sparsecode_trainer::lista::{Config, preset_names};

/// Every preset, and the hash of its configuration.
const HASHES: [(&str, &str); 50] = [
    ("mnist/sdl", "ece355eb33a8d98a"),
    ("mnist/sdl-nl", "55d1cd549d9a137e"),
    ("mnist/vdl", "dfd80f832113d022"),
    ("mnist/vdl-nl", "bb2ebd4b2db08d73"),
    ("mnist/wdl", "5e171f92429c6e85"),
    ("mnist/wdl-nl", "0dd07b5e88152b9c"),
    ("mnist/do", "5d3c2ca98cc75a3f"),
    ("mnist/do-nl", "1cca0c229d606615"),
    ("mnist/none", "43dbd650a9573d63"),
    ("mnist/none-nl", "e7702cf2d0fe1bc4"),
    ("patches/sdl", "2981ef815669eba3"),
    ("patches/sdl-nl", "16e5b8c54a05f081"),
    ("patches/vdl", "4d302dfdc00ee50a"),
    ("patches/vdl-nl", "28f6b05157e45bfb"),
    ("patches/wdl", "d1d1abc221e4fd12"),
    ("patches/wdl-nl", "4401e8c2517ef972"),
    ("patches/do", "048dbc63c5437a3d"),
    ("patches/do-nl", "4a94dfe6e1cffcb4"),
    ("patches/none", "f622bd9516c77d8c"),
    ("patches/none-nl", "f53b32242936d18d"),
    ("dead-leaves/sdl", "f82e8544e63bed4f"),
    ("dead-leaves/sdl-nl", "ea02ab094f081e92"),
    ("dead-leaves/vdl", "dae6aaf5f0ef9d3b"),
    ("dead-leaves/vdl-nl", "0a4cbe3adcaa9c11"),
    ("dead-leaves/wdl", "81bd59e9b527ebec"),
    ("dead-leaves/wdl-nl", "7ba6439179a2d7cb"),
    ("dead-leaves/do", "75c3e948960b04e5"),
    ("dead-leaves/do-nl", "8743bb4ea9bc623a"),
    ("dead-leaves/none", "bd3ddf9fa7509f2b"),
    ("dead-leaves/none-nl", "05ddedfa63da397e"),
    ("vibration/sdl", "ac14215529073dd8"),
    ("vibration/sdl-nl", "705d6e50b4e0e0a2"),
    ("vibration/vdl", "0641738f4af705d3"),
    ("vibration/vdl-nl", "d4266ce14e0c280b"),
    ("vibration/wdl", "397a8dcb9b878dac"),
    ("vibration/wdl-nl", "6435d59df1bfb281"),
    ("vibration/do", "01a27b79a7da02cf"),
    ("vibration/do-nl", "d2e3af8ed68f7d2c"),
    ("vibration/none", "bcbc9d1cc6a83269"),
    ("vibration/none-nl", "c74c9e5f9c87bdfe"),
    ("ecg/sdl", "6cd3f07bd55a403b"),
    ("ecg/sdl-nl", "a971a42446cb5e6f"),
    ("ecg/vdl", "b114a4ceb3c4c5cd"),
    ("ecg/vdl-nl", "22c87ca8604185a9"),
    ("ecg/wdl", "64a59d99c257a8e2"),
    ("ecg/wdl-nl", "3643649366b08a05"),
    ("ecg/do", "4d633e39a4528188"),
    ("ecg/do-nl", "82dcd46f96c1c5a8"),
    ("ecg/none", "7376e2a8653c9b90"),
    ("ecg/none-nl", "0fa844733c7a2a30"),
];

#[test]
fn hashes_of_presets_stay() {
    let mut names: Vec<&str> = HASHES.iter().map(|(name, _)| *name).collect();
    for (name, hash) in HASHES {
        assert_eq!(Config::preset(name).unwrap().hash(), hash, "{name}");
    }
    names.sort_unstable();
    let mut all = preset_names();
    all.sort_unstable();
    assert_eq!(names, all);
}
