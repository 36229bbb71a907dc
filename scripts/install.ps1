# Make .venv and install tornflow with the named extras into it, editable: scripts\install.ps1 [EXTRA...]
# The twin of scripts/install for Windows. A stamp remembers what was installed.
# $env:PYTHON = 'C:\path\to\python.exe' chooses the interpreter.
$ErrorActionPreference = 'Stop'
$root = Split-Path -Parent $PSScriptRoot
$venv = Join-Path $root '.venv'
$python = Join-Path $venv 'Scripts\python.exe'
$extras = $args -join ','
$stamp = Join-Path $venv ('.installed-' + $(if ($extras) { $extras -replace ',', '+' } else { 'core' }))

$files = 'pyproject.toml', 'setup.py', 'constraints.txt' | ForEach-Object { Join-Path $root $_ }
$now = ($files | ForEach-Object { (Get-FileHash $_).Hash }) -join ' '
if ((Test-Path $python) -and (Test-Path $stamp) -and ((Get-Content $stamp -Raw).Trim() -eq $now)) { exit 0 }

if (-not (Test-Path $python)) {
    $found = if ($env:PYTHON) { $env:PYTHON } else { 'python' }
    & $found -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))'
    if ($LASTEXITCODE -ne 0) { throw "tornflow needs Python 3.11 or newer; $found is not one. Set `$env:PYTHON." }
    & $found -m venv $venv
    if ($LASTEXITCODE -ne 0) { throw "could not make $venv" }
}
Write-Host "tornflow: installing into $venv (only this time) ..."
$what = if ($extras) { "$root[$extras]" } else { $root }
& $python -m pip install --quiet --constraint (Join-Path $root 'constraints.txt') --editable $what
if ($LASTEXITCODE -ne 0) { throw 'pip failed' }
Set-Content -Path $stamp -Value $now
exit 0
