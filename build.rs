//! Compiles librdkafka's `cooperative-sticky` assignor once more, without a bug that ends processes.
//!
//! The assignor keeps a record of which partitions it has moved from whom to whom, and the maps of that record have keys that it
//! frees. In the leader of a group whose members don't all subscribe to the same topics, it reads freed memory, or asserts:
//! docs/internals/kafka-quirks.md. The record only serves to move a partition back instead of another one of its topic, so both
//! places that use it are taken out. What is compiled here goes before librdkafka's own object, which the linker then leaves out.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "program")]
    assignor::compile();
}

#[cfg(feature = "program")]
mod assignor {
    use std::env;
    use std::fs;
    use std::path::Path;

    const SOURCE: &str = "rdkafka_sticky_assignor.c";

    /// What stands in librdkafka 2.12, up to 2.15 at least, and what is to stand there.
    const REPLACEMENTS: [(&str, &str); 2] = [
        (
            "        PartitionMovements_movePartition(partitionMovements, partition,\n\
             \x20                                        oldConsumer, newConsumer);\n",
            "",
        ),
        (
            "partitionToBeMoved = PartitionMovements_getTheActualPartitionToBeMoved(\n\
             \x20           partitionMovements, partition, consumer, newConsumer);",
            "partitionToBeMoved = partition;",
        ),
    ];

    pub(super) fn compile() {
        let built = env::var("DEP_RDKAFKA_ROOT").expect("rdkafka-sys says where it has built librdkafka");
        let headers = Path::new(&built).join("src");
        let mut source = fs::read_to_string(headers.join(SOURCE)).expect("librdkafka's sources are where it was built");
        for (bug, fix) in REPLACEMENTS {
            let found = source.matches(bug).count();
            assert_eq!(found, 1, "{SOURCE} has changed: see whether its bug is gone, and build.rs with it");
            source = source.replace(bug, fix);
        }
        let fixed = Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join(SOURCE);
        fs::write(&fixed, source).expect("OUT_DIR can be written");
        // All of it is linked, although nothing has asked for it when its turn comes.
        cc::Build::new()
            .file(fixed)
            .include(headers)
            .warnings(false)
            .link_lib_modifier("+whole-archive")
            .compile("weir_assignor");
    }
}
