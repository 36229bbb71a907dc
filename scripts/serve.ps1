# Start the server; on a fresh machine set up everything it needs first. Arguments go to `tornflow serve`.
$ErrorActionPreference = 'Stop'
$root = Split-Path -Parent $PSScriptRoot
& (Join-Path $PSScriptRoot 'install.ps1') speed
& (Join-Path $root '.venv\Scripts\tornflow.exe') serve @args
exit $LASTEXITCODE
