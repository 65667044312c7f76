<powershell>
# The workspace is stopped: whoever starts its machine by hand sees it turn itself off.
Stop-Computer -Force
</powershell>
<persist>true</persist>
