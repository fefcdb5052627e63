# Completes `cargo xtask` of kafka-lab.
Register-ArgumentCompleter -Native -CommandName cargo -ScriptBlock {
    param($current, $line, $cursor)
    $program = @PROGRAM@
    $words = @($line.CommandElements | Where-Object { $_.Extent.StartOffset -lt $cursor } | ForEach-Object { $_.ToString() })
    # rustup's +toolchain comes before the command.
    $first = if ($words.Count -gt 1 -and $words[1].StartsWith('+')) { 2 } else { 1 }
    if ($words.Count -le $first -or $words[$first] -ne 'xtask' -or -not (Test-Path $program)) { return }
    $rest = @($words | Select-Object -Skip ($first + 1))
    # An empty argument does not reach a program in every version.
    $new = if ($current -eq '') { @('--new') } else { @() }
    & $program complete @new -- @rest 2>$null | ForEach-Object {
        $value, $about = $_ -split "`t", 2
        if (-not $about) { $about = $value }
        [System.Management.Automation.CompletionResult]::new($value, $value, 'ParameterValue', $about)
    }
}
