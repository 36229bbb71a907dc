# Run the tests; on a fresh machine set up everything they need first. Arguments go to pytest (default: every test).
$ErrorActionPreference = 'Stop'
$root = Split-Path -Parent $PSScriptRoot
& (Join-Path $PSScriptRoot 'install.ps1') speed test
Push-Location $root
try { & (Join-Path $root '.venv\Scripts\python.exe') -m pytest @args } finally { Pop-Location }
exit $LASTEXITCODE
