# Answers with its process id, a little late, or two seconds late at /slow.
sub {
    my $env = shift;
    select undef, undef, undef, $env->{PATH_INFO} eq '/slow' ? 2 : 0.005;
    return [200, ['Content-Type' => 'text/plain', 'Content-Length' => length $$], ["$$"]];
};
