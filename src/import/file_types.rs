//! pre-commit's file types (the names of its `identify`) as patterns, by what a file is called. `identify` also looks into
//! scripts without an extension; that has no equal, and the configuration says so.

/// The patterns of a type: empty for those that every text file has, `None` for a type that is not known here.
pub(super) fn patterns(name: &str) -> Option<&'static [&'static str]> {
    Some(match name {
        "file" | "text" => &[],
        "c" => &["*.c", "*.h"],
        "c++" => &["*.cc", "*.cpp", "*.cxx", "*.c++", "*.h", "*.hh", "*.hpp", "*.hxx"],
        "c#" => &["*.cs"],
        "cmake" => &["CMakeLists.txt", "*.cmake"],
        "css" => &["*.css"],
        "cython" => &["*.pyx", "*.pxd", "*.pxi"],
        "dart" => &["*.dart"],
        "dockerfile" => &["Dockerfile", "Dockerfile.*", "*.dockerfile", "Containerfile"],
        "elixir" => &["*.ex", "*.exs"],
        "go" => &["*.go"],
        "html" => &["*.html", "*.htm"],
        "java" => &["*.java"],
        "javascript" => &["*.js", "*.mjs", "*.cjs"],
        "json" => &["*.json"],
        "jsx" => &["*.jsx"],
        "jupyter" => &["*.ipynb"],
        "kotlin" => &["*.kt", "*.kts"],
        "less" => &["*.less"],
        "lua" => &["*.lua"],
        "makefile" => &["Makefile", "GNUmakefile", "makefile", "*.mk"],
        "markdown" => &["*.md", "*.markdown"],
        "nix" => &["*.nix"],
        "php" => &["*.php"],
        "proto" => &["*.proto"],
        "pyi" => &["*.pyi"],
        "python" => &["*.py", "*.pyi"],
        "rst" => &["*.rst"],
        "ruby" => &["*.rb", "*.gemspec", "Gemfile", "Rakefile"],
        "rust" => &["*.rs"],
        "scala" => &["*.scala", "*.sc"],
        "scss" => &["*.scss"],
        "shell" | "sh" | "bash" => &["*.sh", "*.bash"],
        "sql" => &["*.sql"],
        "svelte" => &["*.svelte"],
        "svg" => &["*.svg"],
        "swift" => &["*.swift"],
        "terraform" => &["*.tf", "*.tfvars"],
        "toml" => &["*.toml"],
        "ts" => &["*.ts"],
        "tsx" => &["*.tsx"],
        "vue" => &["*.vue"],
        "xml" => &["*.xml"],
        "yaml" => &["*.yaml", "*.yml"],
        "zig" => &["*.zig"],
        _ => return None,
    })
}

/// Files of a folder that have a type: `src/**` and `*.py` are `src/**/*.py`. `None` where that takes another shape.
pub(super) fn within(folder: &str, patterns: &[String]) -> Option<Vec<String>> {
    let folder = folder.strip_suffix("/**").filter(|folder| !folder.contains(['*', '!', '?']))?;
    Some(patterns.iter().map(|pattern| format!("{folder}/**/{pattern}")).collect())
}
